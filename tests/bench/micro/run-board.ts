// A micro kernel on the small board, as a program: NAME ENGINE. What a process takes here is engine and start-up, without devices.
import { runOnBoard } from './board.ts';
import { buildImage } from './image.ts';
import { EMPTY, KERNELS } from './kernels.ts';

const [name, engine] = process.argv.slice(2);
const kernel = [EMPTY, ...KERNELS].find((k) => k.name === name);
if (kernel === undefined || (engine !== 'interp' && engine !== 'jit')) throw new Error(`no kernel ${name}, or no engine ${engine}`);
process.stdout.write(runOnBoard(buildImage(kernel), { engine }).output);
