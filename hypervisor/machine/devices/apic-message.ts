// A message on the APIC bus: what an I/O APIC, an MSI or an inter-processor interrupt says to local APICs (SDM Vol 3A, 10.6.1, 10.11.2).

/** Delivery modes by number. */
export const DELIVERY = { fixed: 0, lowest: 1, smi: 2, nmi: 4, init: 5, startup: 6, extInt: 7 } as const;

/** Physical destination of everybody; messages of 8 bits spell it 0xff. */
export const BROADCAST = 0xffff_ffff;
export const destinationOf8 = (destination: number, logical: boolean): number =>
  destination === 0xff && !logical ? BROADCAST : destination;

export interface ApicMessage {
  /** 32 bits; see destinationOf8. */
  readonly destination: number;
  readonly logical: boolean;
  readonly delivery: number;
  readonly vector: number;
  readonly level: boolean;
}

/** Address and data of an MSI (SDM Vol 3A, 10.11.1 and 10.11.2). */
export const msiMessage = (address: number, data: number): ApicMessage => ({
  destination: destinationOf8((address >>> 12) & 0xff, (address & 4) !== 0),
  logical: (address & 4) !== 0,
  delivery: (data >>> 8) & 7,
  vector: data & 0xff,
  level: (data & 0x8000) !== 0,
});
