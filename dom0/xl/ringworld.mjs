#!/usr/bin/env node
// The executable: loads the command line from the bundle of its sources (bundle.mjs), or from the sources themselves by tsx. Nothing else
// is loaded here, since every module costs start-up time.

const debug = process.env.RINGWORLD_DEBUG !== undefined;
const bundle = debug ? undefined : await (await import('./bundle.mjs')).bundledMain();
if (bundle === undefined) {
  const { register } = await import('tsx/esm/api');
  register();
  // Source maps, which tsx switches on, cost a quarter of the start-up time (0.4 s of 1.5): only for whoever looks for a bug.
  if (!debug) process.setSourceMapsEnabled(false);
}
const { main } = await import(bundle ?? './main.ts');
await main(process.argv.slice(2));
