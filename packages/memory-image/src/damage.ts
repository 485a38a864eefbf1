/** Damage of an image, as it is met: told once, and not without end. */
import { KernelError } from '@liveupdate/base';

/** What an image tells, at most: of a page of noise there are thousands. */
const MOST = 20;

export class Damage {
  readonly all: KernelError[] = [];
  #count = 0;

  /** For callbacks. */
  readonly tell = (damage: KernelError): void => {
    if (this.all.some(({ message }) => message === damage.message)) return;
    this.#count += 1;
    if (this.#count <= MOST) this.all.push(damage);
    if (this.#count === MOST + 1) this.all.push(new KernelError('EINVAL', 'and more like that in the image'));
  };

  say(what: string): void {
    this.tell(new KernelError('EINVAL', what));
  }
}
