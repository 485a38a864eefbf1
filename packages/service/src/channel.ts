/**
 * A line to another process of the service: messages in JSON, a line each, over a stream, and the
 * descriptors that belong to a message over a second socket, sent before it. So when a message is
 * there, they are.
 */
import type * as net from 'node:net';
import { KernelError } from '@liveupdate/base';
import { MOST_FDS_PER_MESSAGE, receiveFds, sendFds } from '@liveupdate/linux';
import { descriptorOf, startReading, stopReading } from './node-internals.ts';

const fs = process.getBuiltinModule('node:fs');

/** Milliseconds until a full socket is tried again. */
const FULL_MS = 1;

export interface Message {
  readonly type: string;
}

interface Line extends Message {
  /** Descriptors that came before it. */
  readonly fds?: number;
}

/** A channel that is suspended. */
export interface LeftChannel {
  /** What has come of the next message. */
  readonly text: string;
  readonly stream: number;
  readonly packets: number;
}

export class Channel<In extends Message, Out extends Message> {
  /**
   * A message, with its descriptors, which belong to whoever gets it. Where there was no room for
   * one of them in this process there is none.
   */
  onMessage: ((message: In, fds: readonly number[]) => void) | undefined;
  /** The other end is closed, or its process has ended. Told once. */
  onEnd: (() => void) | undefined;
  readonly #stream: net.Socket;
  readonly #packets: number;
  readonly #waiting: { message: In; fds: readonly number[] }[] = [];
  /** What has come of the next message. */
  #parts: string[];
  #hasEnded = false;
  #sending: Promise<void> = Promise.resolve();

  /**
   * @param stream a socket for messages
   * @param packets a socket of kind SEQPACKET for descriptors, which belongs to this from here on
   * @param text what has come of the next message
   */
  constructor(stream: net.Socket, packets: number, text = '') {
    this.#stream = stream;
    this.#packets = packets;
    this.#parts = text === '' ? [] : [text];
    stream.setEncoding('utf8');
    stream.on('data', (text: string) => {
      this.#read(text);
    });
    stream.on('error', () => undefined); // told by 'close'
    stream.on('close', () => {
      this.#end();
    });
  }

  /** Does not keep the process alive. */
  unref(): this {
    this.#stream.unref();
    return this;
  }

  /**
   * Sends a message, in its turn. Resolves when the system has it, or the other end is gone.
   *
   * @param fds open descriptors that the other process gets; they stay open here
   */
  send(message: Out, fds: readonly number[] = []): Promise<void> {
    const sent = this.#sending.then(() => this.#send(message, fds));
    this.#sending = sent.catch(() => undefined);
    return sent;
  }

  /** Sends a message at once, before those that wait. */
  sendNow(message: Out): void {
    if (!this.#hasEnded) this.#stream.write(`${JSON.stringify(message)}\n`);
  }

  async #send(message: Out, fds: readonly number[]): Promise<void> {
    for (let at = 0; at < fds.length && !this.#hasEnded;) {
      const some = fds.slice(at, at + MOST_FDS_PER_MESSAGE);
      if (this.#sendSome(some)) at += some.length;
      else await new Promise((resolve) => setTimeout(resolve, FULL_MS));
    }
    const line: Out & { fds?: number } = fds.length > 0 ? { ...message, fds: fds.length } : message;
    if (!this.#hasEnded) this.#stream.write(`${JSON.stringify(line)}\n`);
  }

  #sendSome(fds: readonly number[]): boolean {
    try {
      return sendFds(this.#packets, fds, Uint8Array.of(1));
    } catch (error) {
      if (!(error instanceof KernelError) || !['EPIPE', 'ECONNRESET'].includes(error.code)) throw error;
      return true; // nobody is there: the stream tells
    }
  }

  #read(text: string): void {
    let from = 0;
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n', from)) {
      const line = JSON.parse(this.#parts.join('') + text.slice(from, end)) as In & Line;
      this.#parts = [];
      from = end + 1;
      this.#deliver(line, this.#receive(line.fds ?? 0));
    }
    if (from < text.length) this.#parts.push(text.slice(from));
  }

  /** All descriptors of a message; none where one was lost, because too many files are open. */
  #receive(count: number): number[] {
    const fds: number[] = [];
    for (let left = count; left > 0; left -= MOST_FDS_PER_MESSAGE) {
      try {
        const got = receiveFds(this.#packets);
        if (got === undefined || got === 'ended') break;
        fds.push(...got.fds);
      } catch (error) {
        if (!(error instanceof KernelError)) throw error; // those that follow are still to be taken
      }
    }
    if (fds.length === count) return fds;
    for (const fd of fds) fs.closeSync(fd);
    return [];
  }

  #deliver(message: In, fds: readonly number[]): void {
    if (this.onMessage) this.onMessage(message, fds);
    else this.#waiting.push({ message, fds });
  }

  /** Begins to listen: what came before is told first. */
  listen(onMessage: (message: In, fds: readonly number[]) => void, onEnd: () => void): void {
    this.onMessage = onMessage;
    this.onEnd = onEnd;
    for (const { message, fds } of this.#waiting.splice(0)) onMessage(message, fds);
    if (this.#hasEnded) onEnd();
  }

  #end(): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    fs.closeSync(this.#packets);
    this.onEnd?.();
  }

  /**
   * Stops, so that another program can go on with both sockets: what was sent has left, and what
   * comes waits in the system. `resume` goes on here.
   *
   * @returns what that program needs: a part of a message, and the descriptors; undefined where the
   * other end is closed
   */
  async suspend(): Promise<LeftChannel | undefined> {
    await this.#sending;
    while (this.#stream.writableLength > 0 && !this.#hasEnded)
      await new Promise((resolve) => setTimeout(resolve, FULL_MS));
    stopReading(this.#stream);
    const stream = this.#hasEnded ? undefined : descriptorOf(this.#stream);
    return stream === undefined ? undefined : { text: this.#parts.join(''), stream, packets: this.#packets };
  }

  resume(): void {
    startReading(this.#stream);
  }

  /** Closes this end, when what was sent has left. */
  close(): void {
    this.#stream.end();
    this.#stream.destroySoon();
  }
}
