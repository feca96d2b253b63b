// What the user can mend: shown as one line without a stack trace, exit code 1. Everything else that is thrown is a bug of ours.

export class UserError extends Error {
  override readonly name = 'UserError';
}

/** What xl would say, and is said in its words: without our name in front. */
export class XlError extends Error {
  override readonly name = 'XlError';
  readonly code: number;

  constructor(message: string, code = 1) {
    super(message);
    this.code = code;
  }
}

/** Exit codes of `ringworld create`; of several domains the highest counts. */
export const EXIT = {
  ok: 0,
  /** Usage, configuration or build error. */
  error: 1,
  /** The domain crashed, or its watchdog fired. */
  crash: 3,
  /** It rebooted where on_reboot does not restart it, or suspended. */
  reboot: 4,
  timeout: 5,
  /** It waits for something that cannot come: no timer is armed and nobody can type. */
  stuck: 6,
  /** --engine=both: interpreter and JIT came to different results. */
  differs: 7,
} as const;

const FOR_USER = ['UserError', 'XlError', 'XlcfgError', 'DomainBuildError', 'ToolstackError'];

/** Is it an error with a message for the user, by the classes that say so? (Names, so that nothing must be loaded to ask.) */
export const isForUser = (e: unknown): e is Error => e instanceof Error && FOR_USER.includes(e.name);
