// PV consoles.

export { type ConsoleChannel, Consoled, type ConsoleSink, type ConsoleState, DomainConsole } from './consoled.ts';
