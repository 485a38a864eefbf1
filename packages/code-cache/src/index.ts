export { codeCacheFile, runFromCodeCache, type CodeCacheOptions } from './code-cache.ts';
