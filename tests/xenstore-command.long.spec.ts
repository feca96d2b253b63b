// `xenstore` here beside Debian's xenstore(1): the same arguments on the same store, and the same must be printed.
import { afterAll, describe, expect, it } from 'vitest';
import { xenstoreCommand } from '../dom0/toolstack/xenstore-command.ts';
import { XsClient } from '../dom0/xenstored/client.ts';
import { Random } from '../dom0/xenstored/testing/messages.ts';
import { Xenstored } from '../dom0/xenstored/xenstored.ts';
import { DebianXenstored, haveDebianXenstored } from './support/debian-xenstored.ts';

const COMMANDS: readonly (readonly string[])[] = [
  ['ls'],
  ['write', '/a/b', 'value', '/a/c', 'with spaces and "quotes"', '/a/d', 'tab\\tnewline\\nbell\\007x\\x7f\\\\end'],
  ['write', '/a/empty', ''],
  ['write', '/a/long', 'x'.repeat(200)],
  ['write', `/a/${'n'.repeat(70)}`, 'v'],
  ['write', `/a/${'m'.repeat(90)}/below`, 'v'],
  ['write', '-R', '/a/raw', 'tab\\t'],
  ['write', '/a/odd', '\\q\\8\\1234\\xfg\\'],
  ['write', '/a/utf8', 'Grüße'],
  ['write', 'relative/path', 'r'],
  ['write', '/a/lost'],
  ['write', '/bad path', 'x'],
  ['write', '/a/one', '1', '/bad path', '2'],
  ['read', '/a/one'],
  ['read', '/a/b'],
  ['read', '/a/b', '/a/c', '/a/d'],
  ['read', '-p', '/a/b', '/a/empty'],
  ['read', '--prefix', '--raw', '/a/d'],
  ['read', '-R', '/a/d', '/a/utf8'],
  ['read', '/a/utf8', '/a/odd', '/a/raw'],
  ['read', '/a/none'],
  ['read', '/a/b', '/a/none', '/a/c'],
  ['read', 'relative/path'],
  ['read'],
  ['read', '-t', '/a'],
  ['list', '/a'],
  ['list', '-p', '/a', '/tool'],
  ['list', '/none'],
  ['list', '/a/b'],
  ['exists', '/a'],
  ['exists', '/a', '/none'],
  ['exists', '-s', '/a/b', '/a/c'],
  ['chmod', '/a/b', 'r0', 'b1', 'n2'],
  ['chmod', '-r', '/a', 'n0', 'r1'],
  ['chmod', '-u', '/local/domain/0/relative/path', 'n0', 'b2'],
  ['chmod', '/a/b', 'x1'],
  ['chmod', '/a/b', 'n77'],
  ['chmod', '/none', 'n0'],
  ['chmod', '/a'],
  ['ls', '-p'],
  ['ls', '-p', '/a'],
  ['ls', '-f'],
  ['ls', '-fp', '/a'],
  ['ls', '/a', '/local'],
  ['ls', '/none'],
  ['ls', '-t'],
  ['rm', '/a/c', '/a/none'],
  ['rm', '/a/none/none'],
  ['rm', '/a/b', '/none/none'],
  ['exists', '/a/b'],
  ['write', '/t/u/v', '', '/t/x', '', '/t/keep/full', 'yes'],
  ['rm', '-t', '/t/u/v'],
  ['ls', '/t'],
  ['rm', '-t', '/t/x'],
  ['rm', '-t', '/t/keep/full'],
  ['exists', '/t'],
  ['rm', '/'],
  ['watch', '-n', '1', '/a'],
  ['watch', '-n', '2', '/a', '/nothing-there'],
  ['watch', '-n1', '@releaseDomain'],
  ['watch'],
  ['nonsense'],
  ['read', '--', '/a/long'],
  ['ls', '-h'],
];

describe.skipIf(!haveDebianXenstored())("xenstore beside Debian's (skipped where that cannot be had)", () => {
  const running: DebianXenstored[] = [];
  afterAll(() => {
    for (const d of running) d.close();
  });

  it('prints the same and ends the same', async () => {
    const theirs = new DebianXenstored();
    running.push(theirs);
    for (const domid of [1, 2]) theirs.addDomain(domid);
    await theirs.ready();
    const daemon = new Xenstored({
      open: () => {},
      close: () => {},
      domainInfo: (domid) => (domid <= 2 && domid >= 0 ? { isShutdown: false, isDying: false } : null),
    });
    const client = new XsClient(daemon);
    const ours = (args: readonly string[]) => {
      let stdout = '';
      let stderr = '';
      let code = -1;
      const outcome = xenstoreCommand(client, args, {
        out: (bytes) => {
          stdout += bytes;
        },
        err: (line) => {
          stderr += `${line}\n`;
        },
        columns: null,
        ended: (c) => {
          code = c;
        },
      });
      if ('code' in outcome) code = outcome.code;
      return { code, stdout, stderr };
    };
    const random = new Random(7);
    const bytes = () => String.fromCharCode(...Array.from({ length: 1 + random.below(8) }, () => 1 + random.below(127)));
    const values = Array.from({ length: 40 }, (_, i) => [
      ['write', `/v/${i}`, bytes()],
      ['read', `/v/${i}`],
    ]);
    for (const args of [...COMMANDS, ...values.flat(), ['ls', '-p', '/v']]) {
      const a = theirs.xenstore(args);
      const b = ours(args);
      const said = JSON.stringify(args);
      expect(b.stdout, said).toBe(a.stdout.toString('latin1'));
      expect(b.code, said).toBe(a.code);
      // Its name has a path before it, and there is an empty line after some.
      expect(b.stderr.trim(), said).toBe(a.stderr.replaceAll(/\S*\/usr\/bin\/xenstore\b/g, 'xenstore').trim());
    }
  });
});
