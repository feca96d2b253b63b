#!/usr/bin/env node
// The executable: lets Node read TypeScript, then hands over. Nothing else is loaded here, since every module costs start-up time.
import { register } from 'tsx/esm/api';

register();
const { main } = await import('./main.ts');
await main(process.argv.slice(2));
