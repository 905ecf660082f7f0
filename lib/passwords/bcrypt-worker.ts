import bcryptjs from 'bcryptjs'

/** What a worker thread is asked: the hash of a password under a salt, or whether one matches. */
export type BcryptTask =
  | { password: string, salt: string }
  | { password: string, hash: string }

/** Runs in a worker thread, where hundreds of milliseconds of computing hold up nobody else. */
export default async function run (task: BcryptTask): Promise<string | boolean> {
  if ('salt' in task) return await bcryptjs.hash(task.password, task.salt)
  return await bcryptjs.compare(task.password, task.hash)
}
