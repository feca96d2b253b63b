// hello as a 64-bit PV kernel.
import { buildKernel, PV64 } from '../kit/index.ts';
import { hello, helloUser } from './hello.ts';

export const buildHello64 = (): Uint8Array =>
  buildKernel(PV64, { guestOs: 'ringworld-hello', guestVersion: '1', main: hello, user: helloUser });
