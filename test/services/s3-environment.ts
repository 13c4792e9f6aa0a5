/** An S3 service with static credentials and path-style URLs. */
export interface S3Service {
  /** Of the form http://127.0.0.1:PORT */
  endpoint: string
  accessKeyId: string
  secretAccessKey: string
  region: string
}

/**
 * Keeps the AWS SDK from printing which versions of Node it will support, which it does at the first client of a
 * process.
 */
export function silenceNodeAdvice(): void {
  process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true'
}

/** Returns the environment variables with which the AWS SDK and frequency use an S3 service. */
export function s3Environment(service: S3Service): Record<string, string> {
  return {
    AWS_ACCESS_KEY_ID: service.accessKeyId,
    AWS_SECRET_ACCESS_KEY: service.secretAccessKey,
    AWS_REGION: service.region,
    AWS_ENDPOINT_URL_S3: service.endpoint,
    S3_FORCE_PATH_STYLE: 'true',
  }
}
