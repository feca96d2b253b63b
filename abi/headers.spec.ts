// Holds every declaration of this package against Xen's own headers: a C program, generated from what the modules export, lists
// each constant and each structure's size, alignment and member offsets; the system compiler evaluates it for both ABIs. It only
// compiles (-S), so no 32-bit C library is needed; the numbers are read from the assembly.
// Needs: libxen-dev and gcc with libc6-dev (Debian package names).
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { describe, expect, test } from 'vitest';
import { ringType } from './io/ring.ts';
import { ABIS, type Abi, type AnyCodec } from './layout/codec.ts';

const HERE = dirname(fileURLToPath(import.meta.url));
const INCLUDE = '/usr/include';
const missing = !existsSync(join(INCLUDE, 'xen/xen.h'))
  ? 'Xen headers (apt-get install libxen-dev)'
  : spawnSync('cc', ['--version']).status !== 0
    ? 'a C compiler (apt-get install gcc libc6-dev)'
    : process.arch !== 'x64'
      ? 'an x86-64 compiler'
      : undefined;
if (missing !== undefined) console.warn(`SKIPPED: layouts are not held against Xen's headers; missing ${missing}`);

/** Where a module's header lies elsewhere than its name says. */
const HEADERS: Record<string, string> = {
  'xen/hvm/start_info.ts': 'xen/arch-x86/hvm/start_info.h',
  'xen/arch-x86/hvm/save.ts': 'xen/hvm/save.h',
};
/** Modules about one ABI only: the other one's header defines the same names otherwise. */
const ONE_ABI: Record<string, Abi> = { 'xen/arch-x86/xen-x86_32.ts': 'x86_32', 'xen/arch-x86/xen-x86_64.ts': 'x86_64' };

interface Check {
  readonly what: string;
  readonly c: string;
  readonly ours: bigint;
}

function modules(): string[] {
  return ['xen', 'io'].flatMap((folder) =>
    readdirSync(join(HERE, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts') && !name.endsWith('.spec.ts'))
      .map((name) => relative(HERE, join(HERE, folder, name)))
      .sort(),
  );
}
const headerOf = (module: string): string =>
  HEADERS[module] ?? (module.startsWith('io/') ? `xen/${module}` : module).replace(/\.ts$/, '.h');

const isCodec = (value: unknown): value is AnyCodec => typeof value === 'object' && value !== null && 'ctype' in value && 'shape' in value;
const isPerAbi = (value: unknown): value is Record<Abi, number> =>
  typeof value === 'object' && value !== null && 'x86_64' in value && 'x86_32' in value;

function memberChecks(type: string, path: string, codec: AnyCodec, base: number, abi: Abi): Check[] {
  const { shape } = codec;
  if (shape.kind === 'array') {
    const { element } = shape;
    return element.shape.kind === 'scalar' || element.ctype !== '' ? [] : memberChecks(type, `${path}[0]`, element, base, abi);
  }
  if (shape.kind === 'scalar' || (path !== '' && codec.ctype !== '')) return [];
  return shape.members.flatMap((member) => {
    if (member.codec.onlyIn !== undefined && member.codec.onlyIn !== abi) return [];
    // Bit-fields have no offset in C; what follows them has.
    if (member.name.startsWith('$')) return [];
    const at = path === '' ? member.name : `${path}.${member.name}`;
    const offset = base + member.offset(abi);
    return [
      { what: `offset of ${at} in ${type}`, c: `offsetof(${type}, ${at})`, ours: BigInt(offset) },
      { what: `size of ${at} in ${type}`, c: `sizeof(((${type} *)0)->${at})`, ours: BigInt(member.codec.size(abi)) },
      ...memberChecks(type, at, member.codec, offset, abi),
    ];
  });
}

function checksOf(name: string, value: unknown, abi: Abi): Check[] {
  if (typeof value === 'number' || typeof value === 'bigint') {
    return [{ what: name, c: `(long long)(${name})`, ours: BigInt.asIntN(64, BigInt(value)) }];
  }
  if (typeof value === 'string') return [{ what: name, c: `__builtin_strcmp(${name}, ${JSON.stringify(value)})`, ours: 0n }];
  if (isPerAbi(value)) return checksOf(name, value[abi], abi);
  if (!isCodec(value) || value.shape.kind === 'scalar' || value.shape.kind === 'array' || value.ctype === '') return [];
  if (!value.shape.abis.includes(abi)) return [];
  return [
    { what: `size of ${value.ctype}`, c: `sizeof(${value.ctype})`, ours: BigInt(value.size(abi)) },
    { what: `alignment of ${value.ctype}`, c: `_Alignof(${value.ctype})`, ours: BigInt(value.align(abi)) },
    ...memberChecks(value.ctype, '', value, 0, abi),
  ];
}

/** The 64-bit words of the array `v` in compiler output. */
function words(assembly: string): bigint[] {
  const bytes: number[] = [];
  const put = (value: bigint, size: number): void => {
    for (let i = 0; i < size; i++) bytes.push(Number((value >> BigInt(8 * i)) & 0xffn));
  };
  for (const line of assembly.slice(assembly.indexOf('\nv:')).split('\n').slice(2)) {
    const [, directive, value] = /^\t\.(quad|long|zero)\t(-?\d+)/.exec(line) ?? [];
    if (directive === undefined || value === undefined) break;
    if (directive === 'zero') put(0n, Number(value));
    else put(BigInt(value), directive === 'quad' ? 8 : 4);
  }
  const view = new DataView(Uint8Array.from(bytes).buffer);
  return Array.from({ length: bytes.length / 8 }, (_, i) => view.getBigInt64(i * 8, true));
}

function evaluate(headers: readonly string[], checks: readonly Check[], abi: Abi): bigint[] {
  const source = [
    '#define __XEN_TOOLS__ 1',
    '#include <stdint.h>',
    '#include <stddef.h>',
    '#include <xen/xen.h>',
    ...headers.map((header) => `#include <${header}>`),
    `long long v[] = {\n${checks.map((check) => check.c).join(',\n')}\n};`,
  ].join('\n');
  // -ffreestanding: stdint.h is then the compiler's own, and the 32-bit pass needs nothing of the C library.
  const args = ['-x', 'c', '-S', '-w', '-ffreestanding', abi === 'x86_64' ? '-m64' : '-m32', '-I', INCLUDE, '-o', '-', '-'];
  const run = spawnSync('cc', args, { input: source, encoding: 'utf8', maxBuffer: 1 << 26 });
  if (run.status !== 0) throw new Error(`the compiler refused the list of declarations for ${abi}:\n${run.stderr.slice(0, 4000)}`);
  return words(run.stdout);
}

const ringChecks = (abi: Abi, types: Record<string, ReturnType<typeof ringType>>): Check[] =>
  Object.entries(types).flatMap(([name, type]) => [
    { what: `entry of ${name}`, c: `sizeof(union ${name}_sring_entry)`, ours: BigInt(type.entrySize(abi)) },
    { what: `first slot of ${name}`, c: `offsetof(struct ${name}_sring, ring)`, ours: BigInt(type.slotOffset(abi, 0, 32)) },
    { what: `slots of ${name} in a page`, c: `__CONST_RING_SIZE(${name}, 4096)`, ours: BigInt(type.slots(abi, 4096)) },
  ]);

describe.skipIf(missing !== undefined).each(ABIS)("Xen's public headers, compiled for %s", (abi) => {
  test('agree with every constant, size, alignment and offset that we declare', async () => {
    const files = modules().filter((module) => (ONE_ABI[module] ?? abi) === abi);
    const checks: Check[] = [];
    for (const module of files) {
      const exported: Record<string, unknown> = await import(pathToFileURL(join(HERE, module)).href);
      const own = Object.entries(exported).flatMap(([name, value]) => checksOf(name, value, abi));
      checks.push(...own.map((check) => ({ ...check, what: `${module}: ${check.what}` })));
    }
    const { HVM_SAVE_CODES } = await import('./xen/arch-x86/hvm/save.ts');
    for (const [name, code] of Object.entries(HVM_SAVE_CODES)) {
      // Two records have no C structure to ask.
      if (name === 'CPU_XSAVE' || name === 'CPU_MSR') continue;
      checks.push({ what: `typecode of ${name}`, c: `HVM_SAVE_CODE(${name})`, ours: BigInt(code) });
    }
    const { blkif_request, blkif_response } = await import('./io/blkif.ts');
    const { netif_rx_request, netif_rx_response, netif_tx_request, netif_tx_response } = await import('./io/netif.ts');
    checks.push(
      ...ringChecks(abi, {
        blkif: ringType('blkif', [blkif_request, blkif_response]),
        netif_tx: ringType('netif_tx', [netif_tx_request, netif_tx_response]),
        netif_rx: ringType('netif_rx', [netif_rx_request, netif_rx_response]),
      }),
    );

    const theirs = evaluate(files.map(headerOf), checks, abi);
    expect(theirs.length).toBe(checks.length);
    const differing = checks.flatMap((check, i) =>
      theirs[i] === check.ours ? [] : [`${check.what}: header ${theirs[i]}, ours ${check.ours}`],
    );
    expect(differing).toEqual([]);
    expect(checks.length).toBeGreaterThan(3000);
  });
});
