// A message on the APIC bus: what an I/O APIC, an MSI or an inter-processor interrupt says to local APICs (SDM Vol 3A, 10.6.1, 10.11.2).

/** Delivery modes by number. */
export const DELIVERY = { fixed: 0, lowest: 1, smi: 2, nmi: 4, init: 5, startup: 6, extInt: 7 } as const;

export interface ApicMessage {
  /** As written: 8 bits of an xAPIC message, 32 of an x2APIC's. */
  readonly destination: number;
  readonly logical: boolean;
  readonly delivery: number;
  readonly vector: number;
  readonly level: boolean;
}

/** Address and data of an MSI (SDM Vol 3A, 10.11.1 and 10.11.2). */
export const msiMessage = (address: number, data: number): ApicMessage => ({
  destination: (address >>> 12) & 0xff,
  logical: (address & 4) !== 0,
  delivery: (data >>> 8) & 7,
  vector: data & 0xff,
  level: (data & 0x8000) !== 0,
});
