// What the host does for calls on frame buffers and keyboards.
import { guestOf, type Handlers } from './host-handlers.ts';
import { pngOf } from './node-png.ts';
import { UserError } from './user-error.ts';

export const screenHandlers: Handlers<'screenshot' | 'sendKeys'> = {
  screenshot: (m, { args }) => {
    const { domid, name } = guestOf(m, args);
    const num = args.integer('num');
    const framebuffer = m.host.screens.framebuffer(domid, num);
    if (framebuffer === null) throw new UserError(`${name} has no frame buffer ${num} (vfb=[''] in its configuration gives it one)`);
    const picture = framebuffer.picture();
    if (picture === null) throw new UserError(`${name}: the guest does not use its frame buffer (yet)`);
    return pngOf(picture);
  },
  sendKeys: (m, { args }) => {
    const { domid, name } = guestOf(m, args);
    const keyboard = m.host.screens.keyboard(domid, args.integer('num'));
    if (keyboard?.isConnected !== true) throw new UserError(`${name}: the guest does not use its keyboard (yet), or has none (vfb=, vkb=)`);
    const codes = args.integers('codes').filter((c) => c > 0 && c < 0x300);
    for (const c of codes) keyboard.key(c, true);
    for (const c of codes.toReversed()) keyboard.key(c, false);
    m.poke();
    return null;
  },
};
