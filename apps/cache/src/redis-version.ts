/** The version of Redis whose commands these are: clients ask for it. */
export const REDIS_VERSION = '7.0.15';
