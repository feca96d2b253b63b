// Watching split drivers at work: traces, prices, rings.
export * from './dom0-source.ts';
export * from './dump-ring.ts';
export * from './recorder.ts';
export * from './ring-slots.ts';
export * from './trace-chrome.ts';
export * from './trace-event.ts';
export * from './trace-file.ts';
export * from './trace-msgpack.ts';
export * from './trace-text.ts';
export * from './work-prices.ts';
