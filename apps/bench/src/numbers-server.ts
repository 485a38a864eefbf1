/**
 * The service that every side of an upgrade is: numbers under keys. `PUT /KEY` stores one, `GET
 * /KEY` tells it, `GET /all` reads all bytes that the program keeps. Each answer says in `x-pid`
 * which process gave it: one that is replaced by exec keeps its pid, but not the time of its start.
 */
import { createServer, type RequestListener, type Server } from 'node:http';
import type { Numbers } from './open-store.ts';

/** Where all of them listen. */
export const HOST = '127.0.0.1';
/** Keys that clients use are below this. */
export const MOST_KEYS = 4096;

const PID = `${process.pid}-${Math.round(performance.timeOrigin * 1000)}`;

/** Answers from a typed array: what is stored is there at once. */
export function arrayNumbers(array: Uint32Array): Numbers {
  return {
    get: (key) => array[key],
    put: (key, value) => {
      array[key] = value;
    },
  };
}

export function answers({ get, put }: Numbers, readAll: () => unknown = () => undefined): RequestListener {
  return (request, response) => {
    const key = request.url!.slice(1);
    const answer = (text: string): void => {
      response.setHeader('x-pid', PID);
      response.end(text);
    };
    if (request.method === 'GET') {
      if (key === 'all') readAll();
      answer(key === 'all' ? '' : String(get(Number(key))));
      return;
    }
    let body = '';
    request.setEncoding('latin1').on('data', (text: string) => (body += text));
    request.on('end', () => {
      const stored = put(Number(key), Number(body));
      if (stored instanceof Promise)
        stored.then(
          () => {
            answer('');
          },
          (error: unknown) => {
            response.destroy(error as Error);
          },
        );
      else answer('');
    });
  };
}

/** A server as one writes it that ends politely. */
export interface PoliteServer {
  readonly server: Server;
  /**
   * Ends it: idle connections are closed, each other one with the answer that it waits for, which
   * says so.
   */
  readonly drain: () => Promise<void>;
}

export function politeServer(numbers: Numbers, readAll: () => unknown): PoliteServer {
  const answer = answers(numbers, readAll);
  let isDraining = false;
  const server = createServer((request, response) => {
    response.shouldKeepAlive = !isDraining;
    answer(request, response);
  });
  return {
    server,
    drain: () => {
      isDraining = true;
      return new Promise((resolve) => {
        server.close(() => {
          resolve();
        });
      });
    },
  };
}
