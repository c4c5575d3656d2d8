import socket, sys
host, port = (sys.argv + ["127.0.0.1:5300"])[1].split(":")
server = socket.socket(type=socket.SOCK_DGRAM)
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # before bind
server.bind((host, int(port)))
while True:
    request, client = server.recvfrom(512)
    question = request[12:request.find(0, 12) + 5]  # name, type, class
    answer = question + b"\xc0\x0c\0\x10" + question[-2:] + b"\0\0\0\0\0\x0e\x0dworker=python"
    if len(question) > 4 and request[2] < 128 and client[1]: server.sendto(request[:2] + b"\x84\0\0\1\0\1\0\0\0\0" + answer, client)
