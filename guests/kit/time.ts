// System time by the pvclock: Xen publishes a moment and the TSC's rate, the guest adds what has passed since (xen.h, vcpu_time_info).
import { vcpu_time_info } from '@ringworld/abi';
import { at8, at32, at64, cl, eax, ebx, edx, esi, rax, rdx, w } from '../asm/index.ts';
import { timeOffset } from './events.ts';
import { type Kernel, routine, variable } from './kernel.ts';

export function timeRoutines(k: Kernel): void {
  const { a, abi } = k;
  const at0 = (field: 'version' | 'tsc_timestamp' | 'system_time' | 'tsc_to_system_mul' | 'tsc_shift'): number =>
    timeOffset(k) + vcpu_time_info.offset(field, abi);
  const version = at32('shared_info', at0('version'));
  const shift = at8('shared_info', at0('tsc_shift'));
  const multiplier = at32('shared_info', at0('tsc_to_system_mul'));
  const stamp = at0('tsc_timestamp');
  const base = at0('system_time');
  variable(k, 'now', 8);

  // Nanoseconds since Xen started -> the variable `now`. An odd or changed version means that Xen was writing.
  routine(k, 'read_time', () => {
    a.push(w.bp).label('.again').mov(eax, version).test(eax, 1).jnz('.again').push(w.ax);
    a.rdtsc();
    if (k.arch.bits === 64) {
      a.shl(rdx, 32).or(rax, rdx).sub(rax, at64('shared_info', stamp));
      a.mov(cl, shift).test(cl, cl).js('.right').shl(rax, cl).jmp('.scale');
      a.label('.right').neg(cl).shr(rax, cl);
      a.label('.scale').mov(edx, multiplier).mul(rdx).shrd(rax, rdx, 32);
      a.add(rax, at64('shared_info', base)).mov(at64('now'), rax);
    } else {
      a.sub(eax, at32('shared_info', stamp)).sbb(edx, at32('shared_info', stamp + 4));
      a.mov(cl, shift).test(cl, cl).js('.right').shld(edx, eax, cl).shl(eax, cl).jmp('.scale');
      a.label('.right').neg(cl).shrd(eax, edx, cl).shr(edx, cl);
      // (edx:eax * multiplier) >> 32, of which 64 bits are kept.
      a.label('.scale').mov(ebx, edx).mul(multiplier).mov(esi, edx);
      a.mov(eax, ebx).mul(multiplier).add(eax, esi).adc(edx, 0);
      a.add(eax, at32('shared_info', base)).adc(edx, at32('shared_info', base + 4));
      a.mov(at32('now'), eax).mov(at32('now', 4), edx);
    }
    a.pop(w.ax).cmp(eax, version).jne('.again').pop(w.bp);
  });
}
