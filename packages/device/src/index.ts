export { DEVICE_PATH, DeviceClient, openDevice } from './device-client.ts';
export { DeviceSession } from './device-session.ts';
