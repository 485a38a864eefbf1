export { RingLog } from './ring-log.ts';
export { RING_LOG_V1, ringLogHandler } from './ring-log-handler.ts';
