export { checkDevice, DEVICE_PATH, DeviceClient, openDevice } from './device-client.ts';
export { DeviceSession } from './device-session.ts';
export { findSessions, type FoundSession, type SessionHolder } from './found-sessions.ts';
