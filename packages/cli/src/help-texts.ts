/** What `--help` says behind the options: examples, and exit codes. */
const EXIT_CODES = `
Exit codes: 0 fine, 1 failed, 2 wrong use. Results go to standard output, all
else to standard error.`;

export const EXAMPLES = `
Examples:
  $ liveupdate doctor                     what this host offers, and what to do
  $ liveupdate demo                       2 GiB through 3 generations
  $ liveupdate demo --size 512MiB --json  a smaller one, its figures as JSON
  $ liveupdate list                       the RAMs of this host
  $ liveupdate inspect my-service         what the RAM of that name holds
  $ liveupdate inspect vmcore.gz          the same for the memory of a Linux
  $ liveupdate check my-service           whether all of that is whole
  $ liveupdate export my-service service/1 state.bin  a file of it, to disk
  $ liveupdate import my-service service/2 more.bin   and one from disk to it
  $ liveupdate remove my-service          the RAM and all that is in it goes
  $ liveupdate run -- node app.js         a service, kept alive and upgraded
  $ liveupdate upgrade counter            its clients notice nothing
  $ liveupdate stop counter               its memory stays for the next start
  $ liveupdate kernel list                live updates of Linux itself
  $ liveupdate compat running bzImage     would an update lose something?
${EXIT_CODES}`;

export const RUN_EXAMPLES = `
Runs a service and stays: the process that everyone knows (PID 1 in a container,
the main process of a systemd unit). It keeps the listening sockets, starts the
service again when it dies, and upgrades it: SIGUSR2, or 'liveupdate upgrade'.
All other signals go to the service; the exit code is the service's.

What happens is told on standard error, a line each. systemd is told when the
service is ready (Type=notify), and sockets that it passes are listened on.

Examples:
  $ liveupdate run -- node app.js
  $ liveupdate run --name counter --json -- node /srv/current/app.js`;

export const UPGRADE_EXAMPLES = `
Starts the new version of a service that 'liveupdate run' runs beside the old
one, and lets it take over memory, sockets and connections. Returns when it
serves. Where it fails, at whatever step, the old version goes on, and the
reason is told.

With --supervisor 'liveupdate run' itself is replaced by what is installed now,
with the same pid. The service goes on, and its clients notice nothing.

Examples:
  $ liveupdate upgrade counter
  $ liveupdate upgrade counter --json | jq .ok
  $ liveupdate upgrade counter --supervisor

Exit codes: 0 the new version serves, 1 it did not take over (the reason is
told), 2 wrong use.`;

export const STATUS_EXAMPLES = `
In JSON 'servicePid' is the process of the service, 'pid' that of its supervisor.

Examples:
  $ liveupdate status
  $ liveupdate status counter --json | jq .generation

Exit codes: 0 fine, 1 no such service runs, 2 wrong use.`;

export const STOP_EXAMPLES = `
The service gets SIGTERM and ends as it likes; 'liveupdate run' ends with it.
Returns when both are gone; after 10 s it tells what ends the service at once.
Memory with a name stays for the next start: 'liveupdate remove' gives it back,
by the name that the program gave ('liveupdate list').

Examples:
  $ liveupdate stop counter
  $ liveupdate stop counter && liveupdate remove counter

Exit codes: 0 it has ended, 1 no such service runs, 2 wrong use.`;

export const DEMO_UPGRADE_EXAMPLES = `
A service with its state in memory is upgraded again and again while clients ask
it; then a bad version is refused, and then it is killed. Every answer is looked
at. Exit code 1 where a client noticed an upgrade.

Examples:
  $ liveupdate demo-upgrade
  $ liveupdate demo-upgrade --size 8GiB --clients 200 --upgrades 20
  $ liveupdate demo-upgrade --json > figures.json
${EXIT_CODES}`;

export const DEMO_EXAMPLES = `
Each generation is the same process (the pid stays) that has replaced itself:
it retrieves the files and compares the SHA-256 of every byte. RAM is a sparse
file in /dev/shm and is removed in the end.

Examples:
  $ liveupdate demo
  $ liveupdate demo --size 8GiB --huge always
  $ liveupdate demo --files 100 --generations 5 --json > figures.json
${EXIT_CODES}`;

export const LIST_EXAMPLES = `
RAMs by name, in /dev/shm: how large, how much memory each takes now, and
whether a program owns it, has handed it over, or died in it. What one that died
had preserved is there: its program goes on with it when it is started again.

Examples:
  $ liveupdate list
  $ liveupdate list --json | jq -r '.[] | select(.state == "dead").name'
${EXIT_CODES}`;

export const REMOVE_EXAMPLES = `
<ram> is a RAM file of liveupdate, by path (with a /) or by name. One that a
program owns just now is left alone. Of one whose owner died it is said what is
lost with it.

Examples:
  $ liveupdate remove my-service
${EXIT_CODES}`;

export const INSPECT_EXAMPLES = `
<image> is one of these, as it is or compressed with gzip:
  a RAM file of liveupdate, by path or by name ('x' is /dev/shm/liveupdate.x)
  an ELF core or a kdump of a machine's memory, as QEMU's dump-guest-memory and
  makedumpfile write them (zlib, zstd, snappy)
  a raw image of memory, from physical address 0 on, as pmemsave writes it
  /proc/kcore: the kernel that runs, as root
It is only read: nothing is locked, nothing is changed, however large it is.

An image may be of any moment. Of a kernel at work it is shown what is preserved
so far, of the kernel after a handover what is still there, with how far to
trust it. Files without a session are named @memfd and by the address of their
record, for export too.

Of a RAM whose owner died, all that it had preserved is shown; of one whose
owner goes on, what it published last (contents may be torn). Of two sessions of
one name the newer comes last; the older one was not finished. What is damaged
is said, and the exit code is 1; all the rest is shown.

Examples:
  $ liveupdate inspect my-service
  $ liveupdate inspect --hash --all vmcore.gz
  $ liveupdate inspect --entry 0x4d8000,0xf3f0000 memory.raw
  $ liveupdate inspect --json vmcore | jq '.sessions[].name'
  $ liveupdate inspect --html vmcore > memory.html
  $ sudo liveupdate inspect /proc/kcore
${EXIT_CODES}`;

export const CHECK_EXAMPLES = `
<ram> is a RAM file of liveupdate, by path or by name, as it is or compressed
with gzip: handed over, of an owner that died, empty, or (as last published) of
one that goes on. The boot page, the live record, the handover, sessions and
files are each looked at, and that no page is in two files. Nothing is changed.
Where something is damaged, the files that can still be exported are listed.

Examples:
  $ liveupdate check my-service
  $ liveupdate check --json my-service | jq -r '.damage[].what'

Exit codes: 0 whole, 1 damaged or not to be read, 2 wrong use.`;

export const EXPORT_EXAMPLES = `
<image> is what inspect reads, and it is only read. <session>/<token> is the
file's name in it, as inspect lists them; <file> is written on disk, with holes
where the file has nothing but zeros that take no memory. It appears under its
name when all of it is there. With - the bytes go to standard output.

From a RAM whose owner goes on the file may be torn between two of its writes:
standard error says so. Of two sessions of one name the newer is meant, with
--unfinished an older one, which a program that died had not finished.

Examples:
  $ liveupdate export my-service service/1 state.bin
  $ liveupdate export --force vmcore.gz vm/0x10 guest-memory.bin
  $ liveupdate export my-service service/1 - | gzip > state.gz
${EXIT_CODES}`;

export const IMPORT_EXAMPLES = `
<ram> is a RAM file of liveupdate, by path (with a /) or by name, that no
program owns just now: it was handed over, or its owner died. With --size it is
made where there is none, and one that is smaller is enlarged. The file becomes
part of the handover that the next owner boots from, beside what is in it.
<file> is a file on disk, or - for standard input.

Examples:
  $ liveupdate import my-service service/2 more.bin
  $ liveupdate import --size 4GiB --huge fresh vm/1 guest-memory.bin
  $ zcat state.gz | liveupdate import my-service service/3 -
${EXIT_CODES}`;

export const MAKE_IMAGE_EXAMPLES = `
Puts files into sessions of a handover, and writes it as a folder from which
QEMU boots a real Linux (an x86 bzImage with CONFIG_LIVEUPDATE): the memory of
the machine, the kernel, and run.sh, to which you add what Linux needs for its
programs. There they are retrieved from /dev/liveupdate. Linux with its FLB test
built in (CONFIG_LIVEUPDATE_TEST) wants the three FLBs of the second example.

Examples:
  $ liveupdate make-image guest --kernel bzImage vm/1=state.bin vm/2=more.bin
  $ liveupdate make-image guest --kernel bzImage vm/1=state.bin \\
      --flb liveupdate-test-flb-v0=0xfeedf00dcafebee0 \\
      --flb liveupdate-test-flb-v1=0xfeedf00dcafebee1 \\
      --flb liveupdate-test-flb-v2=0xfeedf00dcafebee2
  $ guest/run.sh -initrd initrd.img
${EXIT_CODES}`;

export const COMPAT_EXAMPLES = `
Whether the new side of an update reads what the old one writes. Each side is
  running       the kernel of this machine (root)
  an image      of a kernel: bzImage, vmlinuz, vmlinux; gzip, xz or zstd in it
  a handover    or a RAM: what is in it, as inspect reads it
  a program     .js or .ts that opens a machine, or the words that start one. It
                is started, and ends where it would open its RAM.

Examples:
  $ liveupdate compat running /boot/vmlinuz-7.4
  $ liveupdate compat my-service dist/app.js
  $ liveupdate compat my-service -- node --import tsx app.ts
  $ liveupdate compat old/bzImage new/bzImage --json | jq .fits

Exit codes: 0 it fits, 1 something would be lost, or it failed, 2 wrong use.`;

export const DOCTOR_EXAMPLES = `
A line for each thing: ok, note (it works, with a limit) or missing, and what to
do about it. Nothing is changed.

Examples:
  $ liveupdate doctor
  $ liveupdate doctor --json | jq '.checks[] | select(.status != "ok")'

Exit codes: 0 live updates can run here, 1 they cannot, 2 wrong use.`;
