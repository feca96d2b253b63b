// hello as a 32-bit PAE PV kernel.
import { buildKernel, PV32PAE } from '../kit/index.ts';
import { hello, helloUser } from './hello.ts';

export const buildHello32 = (): Uint8Array =>
  buildKernel(PV32PAE, { guestOs: 'ringworld-hello', guestVersion: '1', main: hello, user: helloUser });
