/** An S3 service with static credentials, addressed in path style. */
export interface S3Service {
  /** Of the form http://127.0.0.1:PORT */
  endpoint: string
  accessKeyId: string
  secretAccessKey: string
  region: string
}

/** The environment variables with which the AWS SDK and frequency find an S3 service. */
export function s3Environment(service: S3Service): Record<string, string> {
  return {
    AWS_ACCESS_KEY_ID: service.accessKeyId,
    AWS_SECRET_ACCESS_KEY: service.secretAccessKey,
    AWS_REGION: service.region,
    AWS_ENDPOINT_URL_S3: service.endpoint,
    S3_FORCE_PATH_STYLE: 'true',
  }
}
