// xenbus.h: the states of a split device, as both ends write them to XenStore.

export const XenbusStateUnknown = 0;

export const XenbusStateInitialising = 1;

export const XenbusStateInitWait = 2;

export const XenbusStateInitialised = 3;

export const XenbusStateConnected = 4;

export const XenbusStateClosing = 5;

export const XenbusStateClosed = 6;

export const XenbusStateReconfiguring = 7;

export const XenbusStateReconfigured = 8;
