import bcryptjs from 'bcryptjs'

/** A hash to compute with the salt, or a hash to compare with. */
export type BcryptTask =
  | { password: string, salt: string }
  | { password: string, hash: string }

/** Runs in a worker thread, so that a computation of hundreds of milliseconds does not block the event loop. */
export default async function run (task: BcryptTask): Promise<string | boolean> {
  if ('salt' in task) return await bcryptjs.hash(task.password, task.salt)
  return await bcryptjs.compare(task.password, task.hash)
}
