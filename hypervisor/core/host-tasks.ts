// What runs beside the guests on the host's own time: TypeScript kernels (dom0) and their services. It takes no virtual time; it runs
// between two windows of the run loop, always at the same points of a run.

export interface HostTasks {
  /** Runs what is ready; true when anything was done (the run loop then asks again). */
  run(): boolean;
  /** Host I/O is late that by its model is over: virtual time stands until it is done. */
  readonly isHeld: boolean;
}
