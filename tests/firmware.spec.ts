// Debian's SeaBIOS and SeaVGABIOS on the bare board: they find the chipset, boot from a disk and from a CD, and serve programs in real
// mode. What they print is compared with QEMU's `pc`, where it is installed.

import { deflateSync } from 'node:zlib';
import { displayMode, encodePng, renderImage } from '@ringworld/hypervisor';
import { describe, expect, it } from 'vitest';
import { CD_BLOCK_TEXT, drawingDisk, EXIT_DONE, HELLO, SECTOR_1, SECTOR_2, talkingCd, talkingDisk } from './support/boot-sectors.ts';
import { haveApt } from './support/debian-kernel.ts';
import { haveQemu, runFirmware, runQemu } from './support/firmware-pc.ts';

const qemu = haveQemu();

/** The lines of SeaBIOS's log that tell what hardware it found and where it put it; clocks, sizes of tables and names of drives differ. */
function hardware(log: string): string[] {
  const wanted = /^(PCI|PIIX|Found |ATA controller|Using pmtimer|Moving pm_base|PS2|VBE|set VGA|Running option rom at c000|Booting from)/;
  return log
    .replaceAll('\r', '')
    .split('\n')
    .filter((line) => wanted.test(line) && !/^Found \d+ cpu|kvm/i.test(line));
}

describe.skipIf(!haveApt())('SeaBIOS', () => {
  const disk = talkingDisk();
  const run = runFirmware({ disk });

  it('boots a disk, whose program prints by INT 10h and reads sectors by INT 13h in both ways', () => {
    expect(run.end).toEqual({ kind: 'exit', code: EXIT_DONE });
    const at = run.screen.indexOf('Booting from Hard Disk...');
    expect(run.screen.slice(at, at + 4)).toEqual(['Booting from Hard Disk...', HELLO, SECTOR_1, SECTOR_2]);
    expect(run.serial.startsWith(`${HELLO}\r\n${SECTOR_1}\r\n${SECTOR_2}\r\n`)).toBe(true);
  });

  it('writes sectors by INT 13h', () => {
    const written = new TextDecoder().decode(disk.subarray(3 * 512, 3 * 512 + SECTOR_2.length));
    expect(written).toBe(SECTOR_2);
  });

  it.skipIf(!qemu)('shows the same screen, and finds the same hardware, as on QEMU', () => {
    const there = runQemu({ disk: talkingDisk() });
    expect(there.exitCode).toBe(EXIT_DONE);
    expect(run.serial).toBe(there.serial);
    expect(hardware(run.log)).toEqual(hardware(there.log));
  });

  it('draws the screen with the font of its video BIOS', () => {
    const image = renderImage(run.pc.vga.state, run.pc.vga.video);
    expect([image.width, image.height]).toEqual([720, 400]);
    // Of the text "SeaBIOS" in the first cells some pixels are light grey, and most black.
    let lit = 0;
    for (let y = 0; y < 16; y++) for (let x = 0; x < 63; x++) if (image.rgba[(y * 720 + x) * 4] === 0xaa) lit++;
    expect(lit).toBeGreaterThan(100);
    expect(lit).toBeLessThan(500);
    expect(encodePng(image, deflateSync).length).toBeGreaterThan(1000);
  });

  it('boots a CD without emulation (El Torito), whose blocks have 2048 bytes', () => {
    const cd = runFirmware({ cd: talkingCd() });
    expect(cd.end).toEqual({ kind: 'exit', code: EXIT_DONE });
    expect(cd.serial).toBe(`${HELLO}\r\n${CD_BLOCK_TEXT}`);
    expect(cd.screen).toContain('Booting from DVD/CD...');
  });

  it('sets mode 13h, and VBE modes with a linear frame buffer', () => {
    const low = runFirmware({ disk: drawingDisk({ ax: 0x13 }, 320 * 10 + 20, [4, 2]) }).pc;
    expect(displayMode(low.vga.state)).toEqual({ kind: 'linear256', width: 320, height: 200 });
    const image = renderImage(low.vga.state, low.vga.video);
    const at = (10 * 320 + 20) * 4;
    // Colours 4 and 2 of the default palette: red and green at two thirds.
    expect([...image.rgba.subarray(at, at + 8)]).toEqual([0xaa, 0, 0, 255, 0, 0xaa, 0, 255]);
    // 0x118: 1024x768 in 24 bits.
    const high = runFirmware({ disk: drawingDisk({ ax: 0x4f02, bx: 0x118 }, 0, [1, 2, 3]) }).pc;
    expect(displayMode(high.vga.state)).toEqual({ kind: 'vbe', width: 1024, height: 768, bpp: 24 });
    expect([...renderImage(high.vga.state, high.vga.video).rgba.subarray(0, 4)]).toEqual([3, 2, 1, 255]);
  });
});
