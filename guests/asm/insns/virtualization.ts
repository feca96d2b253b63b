// VT-x (SDM Vol 3C, chapter 31; SMX: Vol 2D, chapter 7) and SVM (APM Vol 3). SVM's implicit rAX operand has the mode's address size.

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
  vmrun: { '': '0F 01 D8' },
  vmmcall: { '': '0F 01 D9' },
  vmload: { '': '0F 01 DA' },
  vmsave: { '': '0F 01 DB' },
  stgi: { '': '0F 01 DC' },
  clgi: { '': '0F 01 DD' },
  skinit: { '': '0F 01 DE' },
  invlpga: { '': '0F 01 DF' },
} as const;
