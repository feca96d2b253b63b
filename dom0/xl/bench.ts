// `ringworld bench split`: the split driver bench of the source tree (tests/bench/split), which `npm run bench -- split` is too.
import { spawn } from 'node:child_process';
import { existsSync, realpathSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { EXIT, UserError } from './user-error.ts';

export async function bench(args: string[]): Promise<number> {
  const [what] = args;
  if (what !== 'split')
    throw new UserError(`bench: ${what === undefined ? 'which?' : `"${what}":`} there is split; 'npm run bench' has others`);
  // The command lies in dom0/xl of the tree, wherever its bundle does.
  const root = join(dirname(realpathSync(process.argv[1]!)), '../..');
  const script = join(root, 'tests/bench/bench.ts');
  if (!existsSync(script)) throw new UserError(`bench: ${script} is not there: the bench comes with the source tree`);
  const loader = pathToFileURL(createRequire(script).resolve('tsx')).href;
  const child = spawn(process.execPath, ['--import', loader, script, ...args], { stdio: 'inherit' });
  return new Promise((done, fail) => {
    child.on('error', fail);
    child.on('close', (code) => done(code ?? EXIT.error));
  });
}
