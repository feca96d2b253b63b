// The one error a domain build ends in. It names the file (or the setting) and the cause, in words that can be shown to a
// user as they stand: no stack trace is needed to understand it. Everything else that is thrown in here is a bug of ours.

export class DomainBuildError extends Error {
  override readonly name = 'DomainBuildError';
  /** The file or setting at fault, as the user wrote it. */
  readonly subject: string;
  /** What is wrong with it. */
  readonly reason: string;

  constructor(subject: string, reason: string, options?: ErrorOptions) {
    super(`${subject}: ${reason}`, options);
    this.subject = subject;
    this.reason = reason;
  }
}
