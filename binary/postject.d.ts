/** The package has no types. */
declare module 'postject' {
  export function inject(
    path: string,
    name: string,
    blob: Buffer,
    options: { sentinelFuse: string; machoSegmentName?: string },
  ): Promise<void>
}
