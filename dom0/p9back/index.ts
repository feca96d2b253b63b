// 9pfs: folders of the host in guests.

export { ERRNO, type ErrnoName, errnoOf } from './linux-errno.ts';
export { type OpenShare, registerP9Back, type ShareParams } from './p9back.ts';
export { type OpenFile, type OpenMode, type Path, type Share, ShareError, type ShareSpace, type ShareStat, type Time } from './share.ts';
