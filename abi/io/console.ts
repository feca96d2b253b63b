// console.h: the console page: two byte rings with free-running indices.
import { bytes } from '../layout/array.ts';
import { u32 } from '../layout/scalars.ts';
import { struct } from '../layout/struct.ts';

export const xencons_interface = struct('xencons_interface', {
  in: bytes(1024),
  out: bytes(2048),
  in_cons: u32,
  in_prod: u32,
  out_cons: u32,
  out_prod: u32,
});
