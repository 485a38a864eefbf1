export { EVENTFD_V1 } from './abi.ts';
export { EFD_NONBLOCK, EFD_SEMAPHORE, EventFd, POLLIN, POLLOUT } from './event-fd.ts';
export { eventfdHandler, type EventFdHandlerInit } from './eventfd-handler.ts';
