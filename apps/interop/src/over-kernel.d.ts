/** The program of docs/replacing-the-kernel.md: see third-death.linux.ts. */
declare module 'over-kernel';
