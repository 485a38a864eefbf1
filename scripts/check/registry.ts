/**
 * A registry on this machine, for packages of this workspace alone: npm, pnpm, yarn and bun publish
 * to it and install from it as they do with any other.
 */

import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** What a package.json says, as a registry keeps it. */
export interface Manifest {
  readonly name: string;
  readonly version: string;
}

/** One version of a package. */
interface Stored {
  readonly manifest: Manifest;
  readonly tarball: Buffer;
}

/** What `npm publish` sends. */
interface Publication {
  readonly name: string;
  readonly versions: Readonly<Record<string, Manifest>>;
  readonly 'dist-tags': Readonly<Record<string, string>>;
  readonly _attachments: Readonly<Record<string, { readonly data: string }>>;
}

export type Versions = Readonly<Partial<Record<string, readonly string[]>>>;

export class Registry implements Disposable {
  /** What was published over HTTP, as `name@version`, in order. */
  readonly published: string[] = [];
  /** Who may publish: the token that is expected. */
  readonly token = 'a-token-of-this-machine';
  /** The package that is refused the next time. */
  #refused: string | undefined;
  readonly #stored = new Map<string, Stored>();
  readonly #tags = new Map<string, Readonly<Record<string, string>>>();
  /** What is shown of it; undefined: all. */
  #shown: Versions | undefined;
  readonly #server = createServer((request, response) => {
    this.#answer(request, response).catch((error: unknown) => {
      reply(response, 500, { error: String(error) });
    });
  });

  private constructor() {
    // made by start()
  }

  static async start(): Promise<Registry> {
    const registry = new Registry();
    await new Promise<void>((resolve) => registry.#server.listen(0, '127.0.0.1', resolve));
    return registry;
  }

  /** Its address, without a slash at the end. */
  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Lines of an .npmrc that send packages of ours here, and let us publish. */
  get npmrc(): string {
    return `@liveupdate:registry=${this.url}/\n${this.url.replace('http:', '')}/:_authToken=${this.token}\n`;
  }

  /** Puts a version there. */
  add(manifest: Manifest, tarball: Buffer): void {
    this.#stored.set(`${manifest.name}@${manifest.version}`, { manifest, tarball });
  }

  /** What a package that is there says of itself. */
  manifest(id: string): Manifest | undefined {
    return this.#stored.get(id)?.manifest;
  }

  /** Refuses to take a package, once. */
  refuseOnce(name: string): void {
    this.#refused = name;
  }

  /** Whether it is still to be refused. */
  get willRefuse(): boolean {
    return this.#refused !== undefined;
  }

  /** Shows these versions and no others; the first of each is `latest`. */
  show(versions: Versions): void {
    this.#shown = versions;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = decodeURIComponent(new URL(request.url ?? '/', this.url).pathname);
    const [, name = '', file = ''] = /^\/(@liveupdate\/[^/]+)(?:\/-\/(.*))?$/.exec(path) ?? [];
    if (request.method === 'PUT') await this.#publish(request, response);
    else if (file !== '') this.#sendTarball(response, `${name}@${file.replace(/\.tgz$/, '')}`);
    else this.#sendVersions(response, name);
  }

  async #publish(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    if (request.headers.authorization !== `Bearer ${this.token}`) {
      reply(response, 401, { error: 'who are you?' });
      return;
    }
    const body = JSON.parse(Buffer.concat(chunks).toString()) as Publication;
    if (body.name === this.#refused) {
      this.#refused = undefined;
      reply(response, 403, { error: 'not now' });
      return;
    }
    const [attached] = Object.values(body._attachments);
    for (const manifest of Object.values(body.versions)) {
      const id = `${manifest.name}@${manifest.version}`;
      if (this.#stored.has(id)) {
        reply(response, 403, { error: `you cannot publish over ${id}` });
        return;
      }
      this.add(manifest, Buffer.from(attached.data, 'base64'));
      this.published.push(id);
    }
    this.#tags.set(body.name, { ...this.#tags.get(body.name), ...body['dist-tags'] });
    reply(response, 201, { ok: true });
  }

  #sendTarball(response: ServerResponse, id: string): void {
    const stored = this.#stored.get(id);
    if (stored) response.writeHead(200).end(stored.tarball);
    else reply(response, 404, { error: 'not found' });
  }

  #sendVersions(response: ServerResponse, name: string): void {
    const stored = [...this.#stored.values()].filter(({ manifest }) => manifest.name === name);
    const shown = this.#shown?.[name];
    const versions = this.#shown
      ? stored.filter(({ manifest }) => shown?.includes(manifest.version))
      : stored;
    if (versions.length === 0) {
      reply(response, 404, { error: 'not found' });
      return;
    }
    const manifests = versions.map(({ manifest, tarball }) => {
      const dist = {
        tarball: `${this.url}/${name}/-/${manifest.version}.tgz`,
        integrity: `sha512-${createHash('sha512').update(tarball).digest('base64')}`,
        shasum: createHash('sha1').update(tarball).digest('hex'),
      };
      return [manifest.version, { ...manifest, dist }] as const;
    });
    const latest = shown?.[0] ?? manifests.at(-1)?.[0];
    const tags = { latest, ...this.#tags.get(name) };
    reply(response, 200, { name, 'dist-tags': tags, versions: Object.fromEntries(manifests) });
  }

  [Symbol.dispose](): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}

function reply(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}
