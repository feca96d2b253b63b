// SVM driven bare, by its opcodes: each intercept taken once with every field that it leaves, each consistency check of VMRUN violated once. One
// line for each on the serial port; the exit code tells whether all held.
import { addr, at64, eax, ecx, rax } from '../asm/index.ts';
import { type BareKernel, buildBareKernel, reserve, routine } from '../kit/virt/bare.ts';
import { rows } from '../kit/virt/rows.ts';
import { svmRoutines } from '../kit/virt/svm.ts';
import { svmCheckRows } from './svm-checks.ts';
import { svmExitRows } from './svm-exits.ts';

const EFER = 0xc000_0080;
const EFER_SVME = 0x1000;

/** Instructions of the host that are to fault: the handler goes on at `.after`. */
function rootRoutines(k: BareKernel): void {
  const { a } = k;
  const faulting = (name: string, body: () => void, svme = true) =>
    routine(k, name, () => {
      const sw = (on: boolean) => {
        a.mov(ecx, EFER).rdmsr();
        if (on) a.or(eax, EFER_SVME).wrmsr();
        else a.and(eax, ~EFER_SVME).wrmsr();
      };
      a.mov(at64('fault_vector'), -1);
      if (!svme) sw(false);
      a.lea(rax, { ...at64('fault_resume'), size: 'any', disp: addr('.after') }).mov(at64('fault_resume'), rax);
      body();
      a.label('.after').mov(at64('fault_resume'), 0);
      if (!svme) sw(true);
    });
  faulting('root_vmrun_unaligned', () => a.mov(eax, addr('vmcb', 8)).vmrun());
  faulting('root_vmload_unaligned', () => a.mov(eax, addr('vmcb', 8)).vmload());
  faulting('root_vmsave_beyond', () => a.mov(rax, 1n << 56n).vmsave());
  faulting('root_vmrun_without', () => a.mov(eax, addr('vmcb')).vmrun(), false);
  faulting('root_vmload_without', () => a.mov(eax, addr('vmcb')).vmload(), false);
  faulting('root_clgi_without', () => a.clgi(), false);
  faulting('root_vmmcall', () => a.vmmcall());
  k.image.section('.text');
  a.align(16).label('guest_vmmcall').vmmcall();
}

/** The kernel as a flat Multiboot image. */
export const buildSvmTests = (): Uint8Array =>
  buildBareKernel((k) => {
    svmRoutines(k);
    rootRoutines(k);
    reserve(k, 'never', 8);
    rows(k, 'svm', [...svmCheckRows(), ...svmExitRows(k)], 'svm_reset');
    k.a.label('main').call('svm_init').call('run_rows').jmp('exit');
  });
