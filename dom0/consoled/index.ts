// PV consoles.

export { asFileName, Consoled, type ConsoledHost, logFileName, type OpenConsoleLog, SERIAL_DEVID } from './consoled.ts';
export { type ConsoleChannel, type ConsoleOptions, type ConsoleState, DomainConsole } from './domain-console.ts';
export type { ConsoleSink } from './viewers.ts';
