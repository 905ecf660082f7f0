/** A copy without the settings that are undefined. Spread over defaults, they would switch the defaults off. */
export function withoutUndefined<Settings extends object> (settings: Settings): Settings {
  return Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined)) as Settings
}
