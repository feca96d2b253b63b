export class IoreqServers {}
