// A guest's access goes to a device model in dom0 and is answered while the vCPU stands (hvm_send_ioreq() and its wait, in one step: dom0 is a host
// task, so its answer is there at the same moment of virtual time).

import { IOREQ_TYPE_COPY, IOREQ_TYPE_PIO } from '@ringworld/abi';
import type { Domain } from '../core/domain.ts';
import type { Hypervisor } from '../core/hypervisor.ts';
import type { DeviceModelPort } from './guest-io.ts';
import { type IoRequest, type IoreqServers, isConfigAddress } from './ioreq-servers.ts';
import type { HvmVcpu } from './vcpu.ts';

const ones = (size: number): number => 2 ** (8 * size) - 1;

export class IoreqPort implements DeviceModelPort {
  private readonly hv: Hypervisor;
  private readonly domain: Domain;
  private readonly request: IoRequest = {
    type: IOREQ_TYPE_PIO,
    addr: 0,
    size: 1,
    count: 1,
    dataLo: 0,
    dataHi: 0,
    dataIsPtr: false,
    isRead: true,
    isDown: false,
  };

  constructor(hv: Hypervisor, domain: Domain) {
    this.hv = hv;
    this.domain = domain;
  }

  access(h: HvmVcpu, kind: 'port' | 'memory', at: number, size: number, isWrite: boolean, value: number): number | undefined {
    const servers = this.domain.hvm?.ioreqServers;
    if (servers == null) return undefined;
    if (isWrite && kind === 'port' && isConfigAddress(at, size)) servers.noteConfigAddress(value);
    const { request } = this;
    request.type = kind === 'port' ? IOREQ_TYPE_PIO : IOREQ_TYPE_COPY;
    request.addr = at;
    request.size = size;
    request.isRead = !isWrite;
    request.count = 1;
    request.dataLo = isWrite ? value | 0 : 0;
    request.dataHi = 0;
    request.dataIsPtr = false;
    const answer = this.ask(h, servers);
    if (answer !== 'answered') return answer === 'nobody' ? undefined : ones(size);
    return isWrite ? value : size === 4 ? servers.dataLo >>> 0 : servers.dataLo & ones(size);
  }

  string(h: HvmVcpu, port: number, size: number, isIn: boolean, gpa: number, count: number): boolean {
    const servers = this.domain.hvm?.ioreqServers;
    // The configuration address is one access at a time.
    if (servers == null || isConfigAddress(port, 4)) return false;
    const { request } = this;
    request.type = IOREQ_TYPE_PIO;
    request.addr = port;
    request.size = size;
    request.count = count;
    request.isRead = isIn;
    request.dataLo = gpa | 0;
    request.dataHi = Math.floor(gpa / 0x1_0000_0000);
    request.dataIsPtr = true;
    return this.ask(h, servers) !== 'nobody';
  }

  private ask(h: HvmVcpu, servers: IoreqServers): 'nobody' | 'silent' | 'answered' {
    const server = servers.select(this.request);
    if (server === null) return 'nobody';
    if (!servers.send(h.vcpu, server, this.request)) return 'silent';
    this.hv.runHostTasks();
    if (servers.takeResponse(h.vcpu, server)) return 'answered';
    // A model that does not answer has lost its domain: nothing else would wake the vCPU.
    this.domain.crash(`device model ${server.id} did not answer`);
    return 'silent';
  }
}
