// Dates as an MC146818 keeps them: raw registers in BCD or binary, 12 or 24 hours, and the day of the week as a counter of its own.

/** Register numbers (MC146818A data sheet, figure 9; the century byte's place is the PC's convention, named in the FADT). */
export const RTC = {
  seconds: 0x00,
  secondsAlarm: 0x01,
  minutes: 0x02,
  minutesAlarm: 0x03,
  hours: 0x04,
  hoursAlarm: 0x05,
  dayOfWeek: 0x06,
  dayOfMonth: 0x07,
  month: 0x08,
  year: 0x09,
  a: 0x0a,
  b: 0x0b,
  c: 0x0c,
  d: 0x0d,
  century: 0x32,
} as const;

export const REG_B = { SET: 0x80, PIE: 0x40, AIE: 0x20, UIE: 0x10, SQWE: 0x08, DM: 0x04, H24: 0x02, DSE: 0x01 } as const;

const PM = 0x80;
export const DAY = 86_400;

const decode = (raw: number, b: number): number => (b & REG_B.DM ? raw : (raw >> 4) * 10 + (raw & 15));
const encode = (value: number, b: number): number => (b & REG_B.DM ? value : (Math.floor(value / 10) << 4) | (value % 10));

function decodeHours(raw: number, b: number): number {
  if (b & REG_B.H24) return decode(raw, b);
  return (decode(raw & ~PM, b) % 12) + (raw & PM ? 12 : 0);
}
function encodeHours(hours: number, b: number): number {
  if (b & REG_B.H24) return encode(hours, b);
  return encode(hours % 12 || 12, b) | (hours >= 12 ? PM : 0);
}

/** Days since 1970-01-01 of a Gregorian date; the month counts from 1. A day past the month's end runs on into the next. */
function daysOf(year: number, month: number, day: number): number {
  // Years begin in March, so that the leap day is the last; 400 years are 146097 days, and 719468 lie between 0000-03-01 and 1970-01-01.
  const y = month > 2 ? year : year - 1;
  const era = Math.floor(y / 400);
  const inYear = Math.floor((153 * ((month + 9) % 12) + 2) / 5) + day - 1;
  const inEra = (y - 400 * era) * 365 + Math.floor((y - 400 * era) / 4) - Math.floor((y - 400 * era) / 100) + inYear;
  return 146_097 * era + inEra - 719_468;
}

function dateOf(days: number): { year: number; month: number; day: number } {
  const z = days + 719_468;
  const era = Math.floor(z / 146_097);
  const inEra = z - era * 146_097;
  const y = Math.floor((inEra - Math.floor(inEra / 1460) + Math.floor(inEra / 36_524) - Math.floor(inEra / 146_096)) / 365);
  const inYear = inEra - (365 * y + Math.floor(y / 4) - Math.floor(y / 100));
  const m = Math.floor((5 * inYear + 2) / 153);
  const month = m < 10 ? m + 3 : m - 9;
  return { year: y + 400 * era + (month <= 2 ? 1 : 0), month, day: inYear - Math.floor((153 * m + 2) / 5) + 1 };
}

/** Seconds since 1970 that the registers show. */
export function secondsOf(regs: readonly number[]): number {
  const b = regs[RTC.b]!;
  const year = decode(regs[RTC.century]!, b) * 100 + decode(regs[RTC.year]!, b);
  const days = daysOf(year, decode(regs[RTC.month]!, b), decode(regs[RTC.dayOfMonth]!, b));
  return days * DAY + timeOfDay(regs);
}

/** Seconds since midnight that the registers show. */
export function timeOfDay(regs: readonly number[]): number {
  const b = regs[RTC.b]!;
  return decodeHours(regs[RTC.hours]!, b) * 3600 + decode(regs[RTC.minutes]!, b) * 60 + decode(regs[RTC.seconds]!, b);
}

/** Writes a moment into the registers, the day of the week (Sunday is 1) excepted. */
export function setSeconds(regs: number[], seconds: number): void {
  const b = regs[RTC.b]!;
  const days = Math.floor(seconds / DAY);
  const rest = seconds - days * DAY;
  const { year, month, day } = dateOf(days);
  regs[RTC.seconds] = encode(rest % 60, b);
  regs[RTC.minutes] = encode(Math.floor(rest / 60) % 60, b);
  regs[RTC.hours] = encodeHours(Math.floor(rest / 3600), b);
  regs[RTC.dayOfMonth] = encode(day, b);
  regs[RTC.month] = encode(month, b);
  regs[RTC.year] = encode(year % 100, b);
  // The chip of the PC counts two digits of the year; the chipset that holds the century byte carries into it.
  regs[RTC.century] = encode(Math.floor(year / 100) % 100, b);
}

/** The day of the week of a moment, Sunday = 1. 1970-01-01 was a Thursday. */
export const weekday = (seconds: number): number => ((((Math.floor(seconds / DAY) + 4) % 7) + 7) % 7) + 1;

/** Lets `n` seconds pass in the registers. */
export function passSeconds(regs: number[], n: number): void {
  const before = secondsOf(regs);
  const midnights = Math.floor((before + n) / DAY) - Math.floor(before / DAY);
  const b = regs[RTC.b]!;
  setSeconds(regs, before + n);
  regs[RTC.dayOfWeek] = encode(((((decode(regs[RTC.dayOfWeek]!, b) - 1 + midnights) % 7) + 7) % 7) + 1, b);
}

/** Whether the alarm registers match a time of day; a byte of 0xc0 or above matches everything. */
export function alarmMatches(regs: readonly number[], secondOfDay: number): boolean {
  const b = regs[RTC.b]!;
  const any = (raw: number) => raw >= 0xc0;
  const [s, m, h] = [regs[RTC.secondsAlarm]!, regs[RTC.minutesAlarm]!, regs[RTC.hoursAlarm]!];
  return (
    (any(s) || decode(s, b) === secondOfDay % 60) &&
    (any(m) || decode(m, b) === Math.floor(secondOfDay / 60) % 60) &&
    (any(h) || decodeHours(h, b) === Math.floor(secondOfDay / 3600))
  );
}
