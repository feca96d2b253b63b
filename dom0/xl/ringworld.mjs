#!/usr/bin/env node
// The executable: lets Node read TypeScript, then hands over. Nothing else is loaded here, since every module costs start-up time.
import { register } from 'tsx/esm/api';

register();
// Source maps, which tsx switches on, cost a quarter of the start-up time (0.4 s of 1.5): only for whoever looks for a bug.
if (process.env.RINGWORLD_DEBUG === undefined) process.setSourceMapsEnabled(false);
const { main } = await import('./main.ts');
await main(process.argv.slice(2));
