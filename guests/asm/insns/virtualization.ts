// VT-x (SDM Vol 3C, chapter 31; SMX: Vol 2D, chapter 7) and SVM (APM Vol 3, chapter 4). SVM's implicit operand is rAX by address size:
// without an operand it is the mode's own, and with one it says so by a 67 prefix, as in vmrun(eax) of 64-bit code.

/** What takes an address in rAX, whose width is the address size (APM Vol 3, VMRUN). */
const byAddress = (opcode: string) => ({ '': opcode, AX: `${opcode} a16 not64`, eAX: `${opcode} a32` }) as const;

export const VMX = {
  vmxon: { Mq: 'F3 0F C7 /6' },
  vmxoff: { '': '0F 01 C4' },
  vmclear: { Mq: '66 0F C7 /6' },
  vmptrld: { Mq: '0F C7 /6' },
  vmptrst: { Mq: '0F C7 /7' },
  vmread: { 'En,Gn': '0F 78 /r' },
  vmwrite: { 'Gn,En': '0F 79 /r' },
  vmlaunch: { '': '0F 01 C2' },
  vmresume: { '': '0F 01 C3' },
  vmcall: { '': '0F 01 C1' },
  vmfunc: { '': '0F 01 D4' },
  invept: { 'Gn,Mo': '66 0F 38 80 /r' },
  invvpid: { 'Gn,Mo': '66 0F 38 81 /r' },
  getsec: { '': '0F 37' },
} as const;

export const SVM = {
  vmrun: byAddress('0F 01 D8'),
  vmmcall: { '': '0F 01 D9' },
  vmload: byAddress('0F 01 DA'),
  vmsave: byAddress('0F 01 DB'),
  stgi: { '': '0F 01 DC' },
  clgi: { '': '0F 01 DD' },
  /** Its operand is EAX in every mode. */
  skinit: { '': '0F 01 DE' },
  /** The address by address size, the ASID in ECX. */
  invlpga: byAddress('0F 01 DF'),
  /** Encrypted guests' (SEV-ES); a VMMCALL elsewhere. */
  vmgexit: { '': 'F3 0F 01 D9' },
} as const;
