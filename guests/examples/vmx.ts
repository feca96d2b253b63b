// VT-x driven bare, by its opcodes: VMX instructions and their errors, each check of VM entry violated once, each exit reason taken once with every
// field that it leaves. One line for each on the serial port; the exit code tells whether all held.
import { at64, eax } from '../asm/index.ts';
import { buildBareKernel, print } from '../kit/virt/bare.ts';
import { rows } from '../kit/virt/rows.ts';
import { vmxAccess, vmxRoutines } from '../kit/virt/vmx.ts';
import { vmxCheckRows } from './vmx-checks.ts';
import { vmxExitRows } from './vmx-exits.ts';
import { vmxInstructionRows } from './vmx-instructions.ts';

/** The kernel as a flat Multiboot image. */
export const buildVmxTests = (): Uint8Array =>
  buildBareKernel((k) => {
    const { a, image } = k;
    vmxRoutines(k);
    a.align(16).label('guest_vmcall').vmcall();
    rows(k, 'vmx', [...vmxInstructionRows(k), ...vmxCheckRows(), ...vmxExitRows(k)], 'vmx_reset', vmxAccess);
    image.section('.text');
    a.label('main').call('vmx_init').cmp(at64('outcome'), 0).je('.on');
    print(k, 'Error: VMXON fails\n');
    a.mov(eax, 2).jmp('exit').label('.on').call('run_rows').jmp('exit');
  });
