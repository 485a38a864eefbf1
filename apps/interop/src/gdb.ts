/**
 * A debugger's line to a guest (the remote serial protocol of GDB, as QEMU speaks it): stops its
 * processor at an address, and reads registers.
 */
import { once } from 'node:events';
import * as net from 'node:net';

/** Of x86-64, in the order that the answer to `g` has: eight bytes each. */
const REGISTERS = ['rax', 'rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rbp', 'rsp'] as const;

/** The 64-bit entry of a kernel, from where its code begins (the Linux/x86 boot protocol). */
const ENTRY_64 = 0x200;
const STOPPED = /^[TS]/;
const DONE = /^OK$/;
const HEX = /^[0-9a-fx]+$/;

export class Debugger implements Disposable {
  readonly #socket: net.Socket;
  #received = '';
  #wake: (() => void) | undefined;

  private constructor(socket: net.Socket) {
    this.#socket = socket;
    socket.setEncoding('latin1');
    socket.on('data', (text: string) => {
      this.#received += text;
      this.#wake?.();
    });
  }

  /** Connects; the guest stands still from now on. @param path of the socket */
  static async attach(path: string): Promise<Debugger> {
    const socket = net.connect(path);
    await once(socket, 'connect');
    const it = new Debugger(socket);
    await it.#ask('?', STOPPED);
    return it;
  }

  /** Lets the guest go on to the instruction at an address, and stops it there. */
  async runTo(address: number): Promise<void> {
    const at = `1,${address.toString(16)},1`;
    await this.#ask(`Z${at}`, DONE);
    await this.#ask('c', STOPPED);
    await this.#ask(`z${at}`, DONE);
  }

  /**
   * Lets the guest go on to the first instruction of the kernel that it has loaded last (with
   * `debug`: its log says where).
   *
   * @param begin has it replaced
   */
  async runToNextKernel(serial: string, begin: () => void): Promise<void> {
    const kernelAt = Number([...serial.matchAll(/Loaded 64bit kernel at (0x[0-9a-f]+)/g)].at(-1)?.[1]);
    begin();
    await this.runTo(kernelAt + ENTRY_64);
  }

  /** Lets the guest go on. */
  resume(): void {
    this.#send('c');
  }

  /** What a register holds. */
  async register(name: (typeof REGISTERS)[number]): Promise<bigint> {
    const all = Buffer.from(await this.#ask('g', HEX), 'hex');
    return all.readBigUInt64LE(8 * REGISTERS.indexOf(name));
  }

  /** Leaves; the guest goes on. */
  [Symbol.dispose](): void {
    this.#socket.destroy();
  }

  #send(packet: string): void {
    let sum = 0;
    for (const letter of packet) sum = (sum + letter.charCodeAt(0)) & 0xff;
    this.#socket.write(`$${packet}#${sum.toString(16).padStart(2, '0')}`);
  }

  /**
   * The answer to a packet, however long that takes. QEMU also tells unasked that it has stopped.
   */
  async #ask(packet: string, wanted: RegExp): Promise<string> {
    this.#send(packet);
    for (;;) {
      const found = /\$([^#]*)#../.exec(this.#received);
      if (found) {
        this.#received = this.#received.slice(found.index + found[0].length);
        this.#socket.write('+');
        if (wanted.test(found[1])) return found[1];
        continue;
      }
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }
}
