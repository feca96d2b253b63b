// All frame buffers and keyboards, for whoever looks and types: by domain and number, as xenbus counts them.
import type { Domid } from '@ringworld/abi';
import type { XenbusBackends } from '../kernel/xenbus.ts';
import { FbDevice, type FbHost, type FrameBuffer } from './fbback.ts';
import { KbdDevice, type Keyboard } from './kbdback.ts';

export class Screens {
  private readonly framebuffers = new Map<string, FrameBuffer>();
  private readonly keyboards = new Map<string, Keyboard>();

  /** Serves vfb and vkbd devices from now on. */
  constructor(host: FbHost & { readonly backends: XenbusBackends }) {
    const { framebuffers, keyboards } = this;
    host.backends.register('vfb', (node) => {
      const key = `${node.frontend}/${node.devid}`;
      const device = new FbDevice(host, node, () => void framebuffers.delete(key));
      framebuffers.set(key, device);
      return device;
    });
    host.backends.register('vkbd', (node) => {
      const key = `${node.frontend}/${node.devid}`;
      const device = new KbdDevice(host, node, () => void keyboards.delete(key));
      keyboards.set(key, device);
      return device;
    });
  }

  /** Null where the domain has none of that number. */
  framebuffer(dom: Domid, devid = 0): FrameBuffer | null {
    return this.framebuffers.get(`${dom}/${devid}`) ?? null;
  }

  keyboard(dom: Domid, devid = 0): Keyboard | null {
    return this.keyboards.get(`${dom}/${devid}`) ?? null;
  }
}
