// The project's version, from the one place that has it.
import project from '../../package.json' with { type: 'json' };

export const version = (): string => project.version;
