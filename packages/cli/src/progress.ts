/**
 * Progress of long work: a bar where somebody watches, a line per quarter where the output is kept.
 * The bar comes from cli-progress, which is loaded only when there is something to show.
 */
import { formatSize } from '@liveupdate/base';

/** Work that counts bytes. */
export interface Progress {
  /** More bytes are done. */
  add(bytes: number): void;
  /** All is done, or given up. */
  stop(): void;
}

/** Shows nothing. */
export const silent: Progress = { add: () => undefined, stop: () => undefined };

/**
 * Starts to show progress on standard error, which leaves standard output to results.
 *
 * @param total bytes
 */
export async function startProgress(label: string, total: number): Promise<Progress> {
  if (total === 0) return silent;
  return process.stderr.isTTY ? startBar(label, total) : startLines(label, total);
}

async function startBar(label: string, total: number): Promise<Progress> {
  const { Presets, SingleBar } = await import('cli-progress');
  const bar = new SingleBar(
    {
      format: `  ${label.padEnd(9)} {bar} {percentage}%  {done} of ${formatSize(total)}  {eta_formatted} left`,
      clearOnComplete: true,
      hideCursor: true,
      barsize: 32,
    },
    Presets.shades_classic,
  );
  bar.start(total, 0, { done: formatSize(0) });
  const forget = restoreTerminal(() => {
    bar.stop();
  });
  let done = 0;
  return {
    add: (bytes) => {
      done += bytes;
      bar.update(done, { done: formatSize(done) });
    },
    stop: () => {
      forget();
      bar.stop();
    },
  };
}

/**
 * Has the terminal put in order where the process ends in the midst, which a bar has taken the
 * cursor from. Returns how to forget about it.
 */
function restoreTerminal(restore: () => void): () => void {
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  const onSignal = (signal: NodeJS.Signals): void => {
    forget();
    restore();
    if (process.listenerCount(signal) === 0) process.kill(process.pid, signal); // as if nobody had listened
  };
  const forget = (): void => {
    process.off('exit', restore);
    for (const signal of signals) process.off(signal, onSignal);
  };
  process.on('exit', restore);
  for (const signal of signals) process.on(signal, onSignal);
  return forget;
}

function startLines(label: string, total: number): Progress {
  let done = 0;
  let quarter = 0;
  return {
    add: (bytes) => {
      done += bytes;
      const now = Math.floor((done / total) * 4);
      if (now > quarter) process.stderr.write(`  ${label} ${now * 25}% of ${formatSize(total)}\n`);
      quarter = now;
    },
    stop: () => undefined,
  };
}
