// `ringworld help`.
import { EXIT } from './user-error.ts';

const TEXT = `Usage: ringworld COMMAND [ARGUMENTS]

  host [OPTIONS]                                switch a machine on and keep it running for the commands below ('host -h')
  create [OPTIONS] FILE.cfg... [KEY=VALUE...]   build domains from xl.cfg files: in the host, or (-F) on a machine of the command's own
  create [OPTIONS] --kernel FILE [KEY=VALUE...] the same without a file
  bare [OPTIONS] IMAGE|FILE.cfg [KEY=VALUE...]  run a kernel or a BIOS on the PC itself, without a hypervisor
  profile [create|bare] ARGUMENTS...            the same, and then where the time went: by part of the emulator, by guest symbol
  bench split [OPTIONS]                         what each choice in a split driver's design comes to, in virtual time
  demo                                          run the two built-in hello guests and show what they did
  info                                          what the machine and its hypervisor are
  help, --version

With a host, as xl has them ('COMMAND -h' tells more; --socket PATH, or RINGWORLD_SOCKET, names another host's socket):
  list, vm-list, domid, domname, uptime, top    what there is
  console, sysrq, trigger                       talk to a domain
  shutdown, reboot, destroy, pause, unpause, rename, save, restore, dump-core
  mem-set, mem-max, vcpu-list, vcpu-set, vcpu-pin, sched-credit
  block-attach, block-list, block-detach, network-attach, network-list, network-detach
  screenshot, send-key                          a domain's frame buffer as PNG, and its keyboard (vfb=)
  trace [-f] [-w FILE] [-e LIST]                what split drivers and guests do, in virtual time
  dump ring DOMAIN DEVICE                       a shared ring with its indices and decoded slots
  net                                           the bridges with their ports, and captures of what passes them
  xenstore ls|read|write|rm|exists|list|chmod|watch  XenStore, as xenstore(1) shows it
  dmesg                                         the hypervisor's messages

Options of create:
  -F, --foreground      a machine of the command's own, until the domains end; their consoles on standard output
  -c, --console         also type into the console; Ctrl-] leaves. In the host if one is running and none of --timeout, --engine, --cpus,
                        --system-map, --trace, --json and -v is given
  -p, --paused          in the host: leave the domain paused
  -f, --defconfig FILE  an xl.cfg file
      --kernel FILE, --ramdisk FILE, --cmdline TEXT, --name NAME, --memory MIB, --vcpus N
                        as the settings of an xl.cfg file
      --timeout SECONDS end after so much time of the host
      --engine ENGINE   jit (hot code compiled, the default), interp, or both: in lockstep, stopping at the first difference
      --system-map FILE the guest's symbols for what --engine=both finds: a System.map, /proc/kallsyms, or an ELF file
      --cpus N          physical CPUs of the machine; as many as vCPUs unless given
      --disk-model NAME how long disks take whose setting has no model=: ideal (no time, the default), nvme, hdd
      --netback LIST    what the network backend offers and how it works, e.g. sg=0,csumOffload=0,maxQueues=1,tx=map,notify=each
      --blkback LIST    the same of the block backend, e.g. data=copy,notify=each,maxQueues=1,maxRingPageOrder=0
      --trace FILE      what happens on the rings, in the store and on the vCPUs, in virtual time: Chrome trace JSON for Perfetto
                        (.json), lines (.txt) or msgpack (.msgpack)
      --trace-events LIST  only these: ring, store, event, hypercall, run
      --uplink UPLINK   the outside world on a bridge: passt[,bridge=NAME][,args=ARGUMENTS] (started by this command), or a socket with
                        QEMU's stream framing: unix:PATH, tcp:HOST:PORT, with [,bridge=NAME][,server=on]; time is then the host's
      --capture FILE[,BRIDGE|,DOMAIN/DEVID]
                        write what passes the bridges, one of them, or one interface, as pcapng (Wireshark)
      --wire [BRIDGE:]WIRE
                        what the bridges' ports are like: ideal (the default), or 1Gb/s,delay=50us,limit=1000
      --log-dir FOLDER  log each console there, as xenconsoled does (guest-NAME.log)
  -n, --dryrun          only check the configuration
      --json            one JSON object on standard output when all is over; consoles go to standard error
  -q, --quiet           no warnings; with --json no consoles either
  -v, --verbose         the hypervisor's own log (what xl dmesg shows) on standard error
  -h, --help

bare has the same options, and these:
      --bios FILE       start a BIOS image at the reset vector; disk=['FILE,raw,hda,rw'] gives it something to boot
      --vgabios FILE    the video card's ROM
      --protocol NAME   linux64, linux32, pvh, multiboot1 or multiboot2; as the image says unless given (modules=['FILE ARGUMENTS'])
      --cpu NAME        CPUID profile
  The first serial port is on standard output and input (-F: output only; Ctrl-] leaves); -v shows what is written to the debug ports.

Options of profile:
      --system-map FILE names for guest addresses: a System.map, the guest's /proc/kallsyms, or an ELF file
      --every N         look where the guest is each N virtual cycles (50000)
      --profile-json FILE the figures as JSON

KEY=VALUE overrides a setting of the files. Several domains run side by side; their lines are marked "(name) ".

Exit codes of create and bare: ${EXIT.ok} powered off, ${EXIT.error} usage, configuration or build error, ${EXIT.crash} crashed,
  ${EXIT.reboot} rebooted or suspended without a restart, ${EXIT.timeout} timeout, ${EXIT.stuck} nothing left that could wake the domain,
  ${EXIT.differs} --engine=both found a difference.
  A bare machine that writes v to port 0xf4 ends with 2v + 1.
`;

export async function help(_args: string[]): Promise<number> {
  process.stdout.write(TEXT);
  return EXIT.ok;
}
