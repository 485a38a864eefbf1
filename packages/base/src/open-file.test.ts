import { describe, expect, test } from 'vitest';
import { AssertionError } from './assert.ts';
import { OpenFile } from './open-file.ts';

class TestFile extends OpenFile {
  frees = 0;

  protected get title(): string {
    return 'the file';
  }

  protected freed(): void {
    this.frees += 1;
  }
}

const EBADF = expect.objectContaining({ code: 'EBADF' }) as Error;

describe('OpenFile', () => {
  test('is freed once, by the last of its users', () => {
    const file = new TestFile();
    file.get();
    file.close();
    expect(file).toMatchObject({ isOpen: true, frees: 0 });
    file.put();
    expect(file).toMatchObject({ isOpen: false, frees: 1 });
    for (const operation of ['get', 'put', 'close', 'hold'] as const)
      expect(() => {
        file[operation]();
      }).toThrow(EBADF);
    expect(file.frees).toBe(1);
  });

  test('closed once too often, it stays with who holds it', () => {
    const file = new TestFile();
    file.hold();
    file.close();
    for (let i = 0; i < 3; i++)
      expect(() => {
        file.close();
      }).toThrow(EBADF);
    expect(file).toMatchObject({ isOpen: true, frees: 0 });
    file.get(); // as live update gives it out once more
    file.close();
    file.unhold();
    expect(file).toMatchObject({ isOpen: false, frees: 1 });
  });

  test('is not let go by one who does not hold it', () => {
    const file = new TestFile();
    expect(() => {
      file.unhold();
    }).toThrow(AssertionError);
    expect(file.isOpen).toBe(true);
  });
});
