// Writes the hello guests to files, for other tools and for real Xen: tsx node-write.ts HELLO64 HELLO32
import { writeFileSync } from 'node:fs';
import { buildHello32, buildHello64 } from '../index.ts';

const [hello64, hello32] = process.argv.slice(2);
if (hello64 === undefined || hello32 === undefined) {
  process.stderr.write('usage: node-write.ts FILE-FOR-64-BIT FILE-FOR-32-BIT\n');
  process.exit(1);
}
writeFileSync(hello64, buildHello64());
writeFileSync(hello32, buildHello32());
